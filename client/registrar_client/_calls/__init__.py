"""The calls of the API, one module per resource. Each function builds the description of one call."""
