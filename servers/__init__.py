"""One file a transport: how each way out of a server works, served from the same feed."""
