"""Powers of 1/n: vertices, the fluctuations of the NTK, the series for one input."""
