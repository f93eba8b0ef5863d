"""tgdpet: PET list mode to images, denoising networks and Targeted Gradient Descent."""

__version__ = "0.1.0"
