"""What the experiments on RePU and MRePU need beyond fully connected networks at initialization."""
