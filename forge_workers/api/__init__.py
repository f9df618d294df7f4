"""The HTTP gateway: proposals and the advice on them, for whoever holds a token."""
