"""What packets may pass and where published ports lead: tables, their elements, and the host's ports."""
