#!/bin/sh
# Ten things that a researcher does: sh examples/users/researcher.sh SAMPLES (a folder with source.jpg, target.jpg, target.mp4)
set -eu
samples=$1
cp "$samples/source.jpg" face.jpg
cp "$samples/target.mp4" clip.mp4

echo "1. faces of a clip, once"
facefusion analyse -t clip.mp4 -o clip.tracks --end 0.5
echo "2. a table for pandas"
facefusion export clip.tracks --format csv -o faces.csv
echo "3. a face on each line"
facefusion export clip.tracks --format jsonl -o faces.jsonl --points 5 68 478
echo "4. boxes and points for detectors"
facefusion export clip.tracks --format coco -o faces.coco.json
echo "5. tracks for trackers"
facefusion export clip.tracks --format mot -o faces.mot.txt
echo "6. who is seen when, for a player"
facefusion export clip.tracks --format webvtt -o faces.vtt
echo "7. embeddings, only when asked for"
facefusion export clip.tracks --format json --embeddings -o embeddings.json
echo "8. one swap, twice, is the same"
facefusion run -s face.jpg -t clip.mp4 -o one.mkv --end 0.3 --quiet
facefusion run -s face.jpg -t clip.mp4 -o two.mkv --end 0.3 --quiet
cmp one.mkv two.mkv
echo "9. figures of any program's output"
facefusion report -t clip.mp4 -o one.mkv -s face.jpg --end 0.3 --report figures.html --json > figures.json
echo "10. what was used, exactly"
facefusion verify one.mkv --json > provenance.json
facefusion run --show-config > config.toml
facefusion models list --json > models.json
