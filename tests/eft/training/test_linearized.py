"""Linearized networks agree with the ensemble, with steps of Runge and Kutta, and with samples."""

import sys

import jax
import numpy as np
import optax
import pytest
from test_ensemble import Y as TARGETS
from test_ensemble import kernels, trained

import eft
