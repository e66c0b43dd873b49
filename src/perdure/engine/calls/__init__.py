"""The RPCs of the contract on the engine, in groups: `perdure.engine.frontend` joins them."""
