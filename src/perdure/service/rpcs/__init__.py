"""The contract's RPCs, in groups of what belongs together: `perdure.service.contract` joins them."""
