"""The REST API, free of Jupyter and of the Hub, and its bindings."""
