"""The longer texts of `fcos COMMAND --help`."""

LAYOUT = """\
--data DIR holds a data set in one of these forms:
  COCO          DIR/annotations/instances_train2017.json  DIR/train2017/   (and val2017)
                DIR/annotations/instances_train.json      DIR/train/       (and val)
  CVAT, datumaro  the same, with the images in DIR/images/train/ or DIR/images/
  Roboflow      DIR/train/_annotations.coco.json beside the images         (and valid)
  Label Studio  DIR/result.json                           DIR/images/
  LVIS          DIR/lvis_v1_train.json                    DIR/train2017/
  Pascal VOC    DIR/Annotations/*.xml  DIR/JPEGImages/  DIR/ImageSets/Main/train.txt
                or DIR/train/*.xml beside the images                       (and valid)
  YOLO          DIR/data.yaml, or DIR/images/train/ and DIR/labels/train/  (and val)
  CrowdHuman    DIR/annotation_train.odgt, images below DIR                (and val)
Any other place: --annotations FILE --images DIR, for a file in COCO format or an .odgt.
"""
TRAIN = """\
Train a detector. Writes into the output folder:
  last.pth          at least once an epoch and when it is interrupted; --resume goes on from it
  best.pth          with --eval-every: the weights with the best AP
  first_batch.png   the first images as the network sees them, with what it learns from them
  config.json       every value below, for --config; the first lines print them, too
  metrics.jsonl     losses and average precision; metrics.csv is the same as a table
  curves.png        the same drawn

Options of the groups model and recipe, and split, limit and workers, can be written as KEY=VALUE,
too: lr=0.02 freeze_at=2 drop_empty=true. What is given comes before --config, that before what
--resume or --weights hold, that before --recipe, that before the defaults. A recipe brings its own
preset; with another --batch its rate changes in proportion, its steps and warm-up against it. All
recipes want ImageNet weights:
  fcos train --data DIR --output RUN --recipe paper-1x --preset improved --backbone-weights FILE
The processes that torchrun starts are one run and share the images of each step:
  torchrun --nproc-per-node N -m fcos train --data DIR --output RUN
"""
SHOW = """\
Draw the annotations of a data set, a picture an image, and a sheet of the first ones, index.png;
with --weights or --results the detections beside them. Each detection, best score first, is matched
with the object that it overlaps most, by an IoU of 0.5 or more. Matched ones are drawn in solid
lines, those of different classes dotted, missed objects and false detections dashed, crowd regions
hatched.
"""
