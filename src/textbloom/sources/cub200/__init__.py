"""How this data set is obtained."""
