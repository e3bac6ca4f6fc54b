"""The same measures by three other libraries, each as a table indexed by label.

Columns: ``voxel_count, volume, x, y, z, surface`` and ``spread_0 >= spread_1 >= spread_2``, the
principal variances, all in um; what a library does not measure is missing.
"""

import numpy as np
import pandas as pd
from scipy import ndimage

SPREADS = ["spread_0", "spread_1", "spread_2"]


def measure_with_itk(labels, voxel_um):
    """ITK's label shape statistics: Crofton's formula with 13 directions; principal moments."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(labels.astype(np.uint32))
    image.SetSpacing([float(edge) for edge in voxel_um[::-1]])
    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.ComputePerimeterOn()
    shape.Execute(image)
    rows = {}
    for label in shape.GetLabels():
        centre = np.array(shape.GetCentroid(label)) + np.array(voxel_um[::-1]) / 2
        rows[label] = [
            shape.GetNumberOfPixels(label),
            shape.GetPhysicalSize(label),
            *centre,
            shape.GetPerimeter(label),
            *sorted(shape.GetPrincipalMoments(label), reverse=True),
        ]
    names = ["voxel_count", "volume", "x", "y", "z", "surface", *SPREADS]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def measure_with_diplib(labels, edge_um):
    """DIPlib, cubic voxels alone: surface by Mullikin and Verbeek's weights, inertia."""
    import diplib

    rows = {}
    for label, window in enumerate(ndimage.find_objects(labels.astype(np.int32)), start=1):
        if window is None:
            continue
        # Alone: its surface leaves out where a body touches another one.
        mask = np.pad(labels[window] == label, 2).astype(np.uint8)
        image = diplib.Image(mask)
        found = diplib.MeasurementTool.Measure(
            image, image, ["Size", "SurfaceArea", "Inertia", "Center"]
        )
        of = found[1]
        inertia = np.array(of["Inertia"][:3])
        start = np.array([part.start for part in window[::-1]]) - 2
        rows[label] = [
            int(of["Size"][0]),
            of["Size"][0] * edge_um**3,
            *((np.array(of["Center"]) + start + 0.5) * edge_um),
            of["SurfaceArea"][0] * edge_um**2,
            *(np.sort(inertia.sum() / 2 - inertia)[::-1] * edge_um**2),
        ]
    names = ["voxel_count", "volume", "x", "y", "z", "surface", *SPREADS]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def measure_with_skimage(labels, voxel_um):
    """scikit-image: volume, centroid and inertia of voxel centres; surface of a mesh."""
    from skimage.measure import marching_cubes, mesh_surface_area, regionprops

    rows = {}
    for region in regionprops(labels.astype(np.int64), spacing=voxel_um):
        inertia = np.array(region.inertia_tensor_eigvals)
        z, y, x = np.array(region.centroid) + np.array(voxel_um) / 2
        mask = np.pad(region.image, 1).astype(np.float32)
        vertices, faces, *_ = marching_cubes(mask, 0.5, spacing=voxel_um)
        rows[region.label] = [
            int(region.image.sum()),
            region.area,
            *(x, y, z),
            mesh_surface_area(vertices, faces),
            *np.sort(inertia.sum() / 2 - inertia)[::-1],
        ]
    names = ["voxel_count", "volume", "x", "y", "z", "surface", *SPREADS]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def split_phase(mask, smallest_vx=500):
    """Cut a phase into particles by a watershed on the distance to its surface.

    Enclosed voids are filled and small particles excluded, so that a label is the filled particle.
    """
    from skimage.feature import peak_local_max
    from skimage.segmentation import watershed

    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(mask), 1.5)
    peaks = peak_local_max(depth, min_distance=8, exclude_border=False)
    seeds = np.zeros(mask.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = watershed(-depth, seeds, mask=mask).astype(np.uint32)
    sizes = np.bincount(labels.ravel())
    labels[(sizes < smallest_vx)[labels]] = 0
    for number, window in enumerate(ndimage.find_objects(labels.astype(np.int32)), start=1):
        if window is not None:
            part = labels[window]
            holes = ndimage.binary_fill_holes(np.pad(part == number, 1))[1:-1, 1:-1, 1:-1]
            part[holes & (part == 0)] = number
    return labels
