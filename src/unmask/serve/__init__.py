"""The detector as an application on this machine: jobs over HTTP, and a page."""
