"""What every floor speaks: definitions, options, errors, ids, the clock and payload conversion."""
