"""What is done about incidents: who owns them, who is called, what people say, what pronoia does itself."""
