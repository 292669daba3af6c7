#!/bin/sh
# Ten things that a maker of films does: sh examples/users/video_maker.sh SAMPLES (a folder with source.jpg, target.jpg, target.mp4)
set -eu
samples=$1
cp "$samples/source.jpg" face.jpg
cp "$samples/target.mp4" clip.mp4
mkdir -p shots/day1 shots/day2
cp "$samples/target.jpg" shots/day1/still.jpg
cp "$samples/target.jpg" shots/day2/still.jpg

echo "1. see a frame before waiting"
facefusion preview -s face.jpg -t clip.mp4 --at 0.2 --compare -o before_after.png
echo "2. who is in it?"
facefusion people -t clip.mp4 -o people.png --face-map-template map.toml
echo "3. the swap, of a part"
facefusion run -s face.jpg -t clip.mp4 -o swapped.mp4 --start 00:00:00.1 --end 0.5 --report report.html
echo "4. the same in two steps: look once, render often"
facefusion analyse -t clip.mp4 -o clip.tracks --end 0.5
facefusion render -s face.jpg -t clip.mp4 --tracks clip.tracks -o rendered.mp4 --end 0.5
echo "5. a layer and a matte for the compositor, beside ProRes for the editor"
facefusion run -s face.jpg -t clip.mp4 -o edit.mov --output-video-encoder prores_ks --end 0.2 \
    --save-layer layer.mov --save-mask matte
echo "6. a small moving picture for a message"
facefusion run -s face.jpg -t clip.mp4 -o small.gif --end 0.4 --output-video-scale 0.25 --output-video-fps 10
echo "7. a folder, each file with its name and place"
facefusion run -s face.jpg -t shots -o done
test -f done/day1/still.jpg && test -f done/day2/still.jpg
echo "8. a clip whose work is kept, and what became of it"
facefusion jobs list
echo "9. how good is it?"
facefusion report -t clip.mp4 -o swapped.mp4 -s face.jpg --start 0.1 --end 0.5 --json > figures.json
echo "10. what does it say of itself?"
facefusion verify swapped.mp4
