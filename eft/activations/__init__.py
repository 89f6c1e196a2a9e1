"""What σ is: the catalogue, functions of the user, their kinks and derivatives."""
