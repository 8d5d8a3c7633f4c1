"""Captions to vectors: encoders that others trained, and one that is trained here."""

TRAINED_HERE = ("char-cnn-rnn",)  # values of encoder.name that the text_encoder stage trains
