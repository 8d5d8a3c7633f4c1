"""Choose the images, their splits and their captions: the rows that every later stage follows."""

from textbloom import errors, params, paths
from textbloom.datasets import captions, registry


def main() -> None:
    p = params.load()
    dataset = registry.open_dataset(p.data.dataset)
    folder = paths.raw(p.data.dataset)
    kept, leaks = captions.without_leaks(dataset.records(folder, p.data.split), dataset.photos(folder))
    used = captions.first(kept, p.data.limit)
    captions.write(paths.CAPTIONS, used, p.captions.per_image)
    for record in leaks:
        print(f"image {record.image_id} of {record.split} left out: an identical photo is in another split")
    print(captions.summary(used))


if __name__ == "__main__":
    errors.run(main)
