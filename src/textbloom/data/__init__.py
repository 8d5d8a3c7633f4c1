"""Sources of images and captions: how the archives of each are read."""
