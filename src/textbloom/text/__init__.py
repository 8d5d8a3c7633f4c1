"""Captions to vectors: encoders that others trained, and two that are trained here."""

TRAINED_HERE = ("char-cnn-rnn", "bag-of-ngrams")  # values of encoder.name that the text_encoder stage trains
