"""Pictures that people look at: sheets of captioned pictures, interpolations, nearest neighbours, loss curves."""
