"""What this server does with others: joining their rooms, inviting their users, sending, catching up."""
