"""How a DDL statement reaches the server: bounded, recorded, resumed."""
