"""Groups above ideal lanes: what the explorer and scripts step."""
