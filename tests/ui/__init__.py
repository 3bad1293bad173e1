"""The side panel in a real JupyterLab, on a real server and a real engine, in Chromium."""
