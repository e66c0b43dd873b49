"""The worker: polls for tasks, runs workflow code and activities, reports how they ended."""
