"""Pictures of annotations and detections: `gallery` says what is drawn, the others how."""
