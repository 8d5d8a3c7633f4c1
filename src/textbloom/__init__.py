"""Describe a flower, get its picture."""
