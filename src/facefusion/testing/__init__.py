"""For authors of plug-ins and for our own tests: faces and clips of nobody, fakes, conformance checks."""
