"""What one runs beside Fast Channels rather than imports into an application: the demo."""
