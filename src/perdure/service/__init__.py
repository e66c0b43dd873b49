"""The WorkflowService contract and its transports."""
