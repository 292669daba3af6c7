"""The contract between the core and its engines; built-ins come in through the same door as others."""
