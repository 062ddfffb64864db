"""The administrators' operations as documents: one table of routes, whatever face they are reached by."""
