"""Mutants of the decisions: those that no test kills are explained one by one, or `make mutants` fails."""
