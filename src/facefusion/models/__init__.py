"""What runs: model specifications, the catalogue, verified sessions. The home of ONNX Runtime."""
