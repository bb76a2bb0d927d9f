"""Detection on images: from Python (`inference`), on image files (`files`), on data (`dataset`)."""
