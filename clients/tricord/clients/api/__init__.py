"""The Client-Server API, endpoint by endpoint: what the server routes by and the SDK calls by."""
