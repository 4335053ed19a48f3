"""The Server-Server API, endpoint by endpoint: what the server routes by and calls other servers by."""
