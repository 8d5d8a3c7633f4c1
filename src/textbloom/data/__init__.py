"""Sources of images and captions: how each is obtained, and how its archives are read."""
