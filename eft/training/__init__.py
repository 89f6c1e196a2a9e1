"""Training at infinite width at any time, inference from kernels, and the posterior to first order in 1/n."""
