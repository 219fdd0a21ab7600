"""Values to text: terminal tables, numbers with units."""
