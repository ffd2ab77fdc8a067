"""Pictures of a labeled CT, and tables over several seeds. Imports everything but `bundle`."""
