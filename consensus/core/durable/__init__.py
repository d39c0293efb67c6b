"""Groups that outlive their processes: their log, their lanes, and what goes past the disk."""
