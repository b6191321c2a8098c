"""The runtime image: what it is built from, and with which tool."""
