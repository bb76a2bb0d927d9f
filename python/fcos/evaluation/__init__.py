"""How good detections are: COCO's metrics, and which detection is of which object."""
