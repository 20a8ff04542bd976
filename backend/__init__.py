"""What everything stands on: devices, the shared batching service, and media files."""
