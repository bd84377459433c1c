"""Reparameterization Flow Policy Optimization: flow policies trained through differentiable physics."""

__version__ = "0.1.0"
