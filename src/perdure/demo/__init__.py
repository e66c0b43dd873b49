"""What `perdure demo` shows: an import that is killed and goes on (import_users.py), an order that is undone (order.py)."""
