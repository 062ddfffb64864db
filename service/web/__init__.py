"""The faces that speak HTTP: parse, call one operation, render."""
