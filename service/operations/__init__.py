"""What administrators, devices and time do: load, decide, save in one transaction (D11)."""
