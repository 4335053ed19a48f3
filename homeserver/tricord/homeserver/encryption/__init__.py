"""The server's part in end-to-end encryption: it keeps public keys and passes on what it cannot read."""
